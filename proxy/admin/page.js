"use strict";
(() => {
  const at = id => document.getElementById(id);
  const period = 2000; // ms between two refreshes

  // update makes node equal to newer, its next version. It keeps unchanged nodes, so focus, scroll
  // positions and open details stay, and live regions announce only changes. It ignores nodes with
  // data-own: only the other functions of this script change them.
  function update(node, newer) {
    if (node.nodeName !== newer.nodeName) return node.replaceWith(newer);
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.nodeValue !== newer.nodeValue) node.nodeValue = newer.nodeValue;
      return;
    }
    if (node.hasAttribute("data-own")) return;
    for (const { name, value } of newer.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    for (const { name } of [...node.attributes]) if (!newer.hasAttribute(name) && name !== "open" && name !== "hidden") node.removeAttribute(name);
    const children = [...newer.childNodes];
    while (node.childNodes.length > children.length) node.lastChild.remove();
    children.forEach((child, i) => i < node.childNodes.length ? update(node.childNodes[i], child) : node.append(child));
  }

  function link(state, text) {
    if (at("link").textContent !== text) at("link").textContent = text;
    at("link").dataset.state = state;
    document.body.classList.toggle("stale", state === "lost");
  }

  // refresh reads this page again. If the response takes more than 8 s, the connection counts as
  // lost.
  async function refresh() {
    let page;
    try {
      const response = await fetch(location.pathname, { signal: AbortSignal.timeout(8000) });
      if (response.ok) page = new DOMParser().parseFromString(await response.text(), "text/html");
    } catch { /* treated like a response with an error status */ }
    setTimeout(refresh, period);
    if (!page || !page.getElementById("main")) {
      document.title = "(no connection) igproxy on " + at("host").textContent;
      return link("lost", "connection lost");
    }
    document.title = page.title;
    for (const id of ["head", "main"]) update(at(id), page.getElementById(id));
    moment();
    filter();
    link("live", "live");
  }

  // moment describes the column of the charts that the slider selects. It also marks the column,
  // unless it is the last one, the default.
  function moment() {
    const column = +at("moment").value, text = at("moments").textContent.split("\n")[column] || "no data for this moment";
    if (at("moment-text").textContent !== text) at("moment-text").textContent = text;
    at("moment").setAttribute("aria-valuetext", text);
    for (const line of document.querySelectorAll(".cursor")) {
      const x = column === 179 ? "-9" : `${(column + .5) / 1.8}%`;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }

  function filter() {
    const words = at("filter").value.toLowerCase().split(/\s+/), rows = [...at("configuration").tBodies[0].rows];
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    at("filter-count").textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
  }

  function point(to) {
    at("moment").value = to;
    moment();
  }

  at("filter-own").hidden = at("moment-own").hidden = false;
  at("filter").addEventListener("input", filter);
  at("moment").addEventListener("input", moment);
  at("charts").addEventListener("pointermove", e => {
    const plot = e.target.closest(".plot"), box = plot && plot.getBoundingClientRect();
    if (plot) point(Math.floor((e.clientX - box.left) / box.width * 180));
  });
  at("charts").addEventListener("pointerleave", () => point(179));
  link("wait", "connecting");
  moment();
  filter();
  setTimeout(refresh, period);
})();
