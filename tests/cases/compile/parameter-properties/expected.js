const x = 1;
class Client {
x;
y;
base;
outer;
constructor(x1, y){
this.x = x1;
this.y = y;
this.outer = x;
}
}
class Api extends Client {
x;
constructor(x){
super(x), this.x = x;
}
get(path) {
return path;
}
}
const execute = ()=>new Api(2).get("/"), testConnection = ()=>{};
({
connector: void 0,
execute: typeof execute === "undefined" ? void 0 : execute,
testConnection: typeof testConnection === "undefined" ? void 0 : testConnection
});
