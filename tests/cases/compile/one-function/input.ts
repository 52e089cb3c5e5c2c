/** Works. */
export async function testConnection() {}
