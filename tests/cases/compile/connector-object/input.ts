// The shape that most connectors have.
interface Context {
  operation: string;
  params: Record<string, unknown>;
}

const connector = {
  testConnection(ctx: Context): void {
    ctx.params satisfies object;
  },
  execute(ctx: Context): unknown {
    switch (ctx.operation) {
      case "list":
        return ctx.params["limit"] ?? 10;
      default:
        throw new Error(`unknown operation ${ctx.operation}`);
    }
  },
  operations: {} as const,
};
