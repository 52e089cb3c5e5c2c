const connector = {
  testConnection() {},
  execute() {},
};
function testConnection() {}
function execute() {}
