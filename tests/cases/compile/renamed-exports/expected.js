const run = ()=>{};
const test = ()=>{};
const __portcullis_entry = "taken";
const __portcullis_entry_ = {
connector: void 0,
execute: typeof run === "undefined" ? void 0 : run,
testConnection: typeof test === "undefined" ? void 0 : test
};
export { __portcullis_entry_ as __portcullis_entry };
