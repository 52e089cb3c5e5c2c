function logged(target: any, key: string) {}
class Api {
  @logged fetch() {}
}
const connector = { testConnection() {}, execute: () => new Api() };
