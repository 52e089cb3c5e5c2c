import fs from "node:fs";
import { Context, helper } from "./helper";
import type { Erased } from "./types";
export { other } from "./other";

export const connector = {
  testConnection: async (ctx: Context) => (await import("./lazy")).test(ctx),
  execute: (ctx: Erased) => helper(ctx),
};
