const connector = {
  testConnection() { const a; },
  execute(ctx) {
    const é: 'é', b;
    break;
  },
};
