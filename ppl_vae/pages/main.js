// Draws every panel.

const VALUES = JSON.parse(document.getElementById("values").textContent);

for (const host of document.querySelectorAll("[data-panel]")) {
  if (host.dataset.panel === "compare") comparison(host, VALUES.compare);
  else PANELS[host.dataset.panel](host, VALUES.runs[Number(host.dataset.run)]);
}
document.addEventListener("keydown", (event) => event.key === "Escape" && hideHint());
document.body.dataset.ready = "";
