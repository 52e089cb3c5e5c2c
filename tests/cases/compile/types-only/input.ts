export interface Context { operation: string }
export type Result = { ok: boolean };
