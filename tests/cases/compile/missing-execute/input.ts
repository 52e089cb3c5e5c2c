export const connector = {
  testConnection() {},
  run() {},
};
