var Status = /*#__PURE__*/ function(Status) {
Status["Open"] = "open";
Status["Closed"] = "closed";
return Status;
}(Status || {});
(function(Api) {
(function(V2) {
V2.base = "/v2";
function url(path) {
return V2.base + path;
}
V2.url = url;
})(Api.V2 || (Api.V2 = {}));
})(Api || (Api = {}));
function execute() {
return [
"open",
3,
Api.V2.url("/x")
];
}
function testConnection() {}
var Api;
({
connector: void 0,
execute: typeof execute === "undefined" ? void 0 : execute,
testConnection: typeof testConnection === "undefined" ? void 0 : testConnection
});
