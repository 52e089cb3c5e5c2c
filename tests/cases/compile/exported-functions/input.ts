import type { Context } from "./connector";

export function testConnection(ctx: Context) {}
export default async function execute(ctx: Context): Promise<string> {
  return await Promise.resolve(ctx.operation!);
}
