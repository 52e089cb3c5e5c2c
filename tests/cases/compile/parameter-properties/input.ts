const x = 1;
abstract class Client<T> {
  protected readonly base!: string;
  declare ambient: T;
  outer = x;
  constructor(public readonly x: number, private y?: string) {}
  abstract get(path: string): T;
}
class Api extends Client<string> {
  constructor(override readonly x: number) { super(x); }
  override get(path: string) { return path; }
}
const execute = () => new Api(2).get("/"), testConnection = () => {};
