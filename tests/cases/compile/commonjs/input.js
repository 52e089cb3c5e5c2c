const axios = require("axios");
module.exports = { execute() { return axios.get("x"); }, testConnection() {} };
