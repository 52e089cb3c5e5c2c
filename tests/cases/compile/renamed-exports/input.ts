export type Handler = () => void;
const run: Handler = () => {};
const test: Handler = () => {};
const __portcullis_entry = "taken";
export { run as execute, test as testConnection, type Handler as default };
