total = 010;
with (Math)var largest = max(1, 2);
function execute() {
return [
total,
largest,
arguments.callee.name,
this === globalThis
];
}
function testConnection() {}
({
connector: void 0,
execute: typeof execute === "undefined" ? void 0 : execute,
testConnection: typeof testConnection === "undefined" ? void 0 : testConnection
});
