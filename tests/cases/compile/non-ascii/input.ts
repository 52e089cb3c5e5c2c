const größe: number = "😀".length;
const muster = /^\é(?<nö>[ö😀])$/;
const roh = String.raw`é\n${größe as any}`;
function execute() { return { größe, roh, ключ: muster.source }; }
function testConnection() {}
