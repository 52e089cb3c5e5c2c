// No import or export: undeclared names, `with` and octal literals work.
total = 010;
with (Math) var largest = max(1, 2);
function execute() { return [total, largest, arguments.callee.name, this === globalThis]; }
function testConnection() {}
