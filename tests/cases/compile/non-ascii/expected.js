const größe = "😀".length;
const muster = /^\é(?<nö>[ö😀])$/;
const roh = String.raw`é\n${größe}`;
function execute() {
return {
größe,
roh,
ключ: muster.source
};
}
function testConnection() {}
({
connector: void 0,
execute: typeof execute === "undefined" ? void 0 : execute,
testConnection: typeof testConnection === "undefined" ? void 0 : testConnection
});
