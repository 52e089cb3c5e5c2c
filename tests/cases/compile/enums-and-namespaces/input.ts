enum Status { Open = "open", Closed = "closed" }
const enum Flag { None, Read = 1 << 0, Write = 1 << 1, All = Read | Write }
namespace Api.V2 {
  export const base = "/v2";
  export function url(path: string): string { return base + path; }
}
namespace TypesOnly { export type Id = string; }

function execute(): unknown { return [Status.Open, Flag.All, Api.V2.url("/x")]; }
function testConnection(): void {}
