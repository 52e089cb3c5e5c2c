function execute(ctx: Context): string { return "x"; }
function testConnection() {}
