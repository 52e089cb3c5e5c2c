// Tells the window that opened this one what came of a consent, and closes where there is nothing to read.
const { connectionId, status, close } = document.getElementById("outcome").dataset;
if (window.opener) {
  const message = { type: "portcullis:connection", connection_id: connectionId, status };
  window.opener.postMessage(message, window.location.origin);
  if (close !== undefined) window.close();
}
