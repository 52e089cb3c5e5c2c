const helper = (value)=>value * 2;
const __portcullis_default = {
testConnection: ()=>{},
execute: ()=>helper(21)
};
const __portcullis_entry = {
connector: typeof __portcullis_default === "undefined" ? void 0 : __portcullis_default,
execute: void 0,
testConnection: void 0
};
export { __portcullis_entry };
