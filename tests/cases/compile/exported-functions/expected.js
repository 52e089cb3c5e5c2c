function testConnection(ctx) {}
async function execute(ctx) {
return await Promise.resolve(ctx.operation);
}
const __portcullis_entry = {
connector: void 0,
execute: typeof execute === "undefined" ? void 0 : execute,
testConnection: typeof testConnection === "undefined" ? void 0 : testConnection
};
export { __portcullis_entry };
