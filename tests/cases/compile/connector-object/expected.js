const connector = {
testConnection (ctx) {
ctx.params;
},
execute (ctx) {
switch(ctx.operation){
case "list":
return ctx.params["limit"] ?? 10;
default:
throw new Error(`unknown operation ${ctx.operation}`);
}
},
operations: {}
};
({
connector: typeof connector === "undefined" ? void 0 : connector,
execute: void 0,
testConnection: void 0
});
