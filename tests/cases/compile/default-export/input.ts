const helper = (value: number): number => value * 2;

export default {
  testConnection: () => {},
  execute: () => helper(21),
} satisfies Connector;

interface Connector {
  testConnection(): void;
  execute(): number;
}
