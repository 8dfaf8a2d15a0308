"use strict";
// The page of a report of variants: a table that is sorted and filtered, and the tracks around the chosen variant, drawn
// here and, where igv.js is in the page, in a genome browser. Text from files only ever becomes text nodes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const rows = [...document.querySelectorAll("#variants tbody tr")];
  const body = document.querySelector("#variants tbody");

  function sortBy(column, header) {
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of document.querySelectorAll("#variants th")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      const [i, j] = [Number(x), Number(y)];
      return Number.isNaN(i) || Number.isNaN(j) ? x.localeCompare(y, undefined, { numeric: true }) : i - j;
    };
    body.append(...rows.sort((a, b) => (descending ? -compare(a, b) : compare(a, b))));
  }

  function filterBy(text) {
    const words = text.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const found = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => found.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").textContent = `${shown} of ${rows.length}`;
  }

  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 1000, HEIGHT = 110, LEFT = 70;

  function add(parent, name, attributes, text) {
    const element = parent.namespaceURI === SVG || name === "svg" ? document.createElementNS(SVG, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }

  // Steps over bins; y is a function of a value.
  function steps(values, x, y) {
    return values.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)},${y(value).toFixed(1)}H${x(i + 1).toFixed(1)}`).join("");
  }

  function panel(parent, name, series, low, high, first, variant, binBp) {
    const count = series[0].values.length;
    const svg = add(parent, "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "track", role: "img", "aria-label": name });
    const x = (i) => LEFT + ((WIDTH - LEFT) * i) / count;
    const y = (value) => HEIGHT - 14 - ((HEIGHT - 28) * (value - low)) / (high - low || 1);
    const mark = x((variant.position - 1 - variant.start) / binBp - first);
    add(svg, "line", { x1: mark, x2: mark, y1: 14, y2: HEIGHT - 14, class: "mark" });
    if (low < 0) add(svg, "line", { x1: LEFT, x2: WIDTH, y1: y(0), y2: y(0), class: "zero" });
    for (const one of series) add(svg, "path", { d: steps(one.values, x, y), class: one.name });
    add(svg, "text", { x: LEFT - 6, y: 18, class: "scale" }, high.toPrecision(3));
    add(svg, "text", { x: LEFT - 6, y: HEIGHT - 12, class: "scale" }, low.toPrecision(3));
    const start = variant.start + first * binBp;
    add(svg, "text", { x: LEFT, y: HEIGHT - 1 }, (start + 1).toLocaleString("en"));
    add(svg, "text", { x: WIDTH, y: HEIGHT - 1, class: "scale" }, (start + count * binBp).toLocaleString("en"));
    add(svg, "text", { x: LEFT, y: 11 }, name);
  }

  function drawTracks(variant, numBins) {
    const place = document.getElementById("tracks");
    place.replaceChildren();
    for (const track of variant.tracks) {
      const middle = Math.floor((variant.position - 1 - variant.start) / data.bin_bp);
      const first = Math.min(Math.max(middle - (numBins >> 1), 0), Math.max(track.ref.length - numBins, 0));
      const ref = track.ref.slice(first, first + numBins);
      const alt = track.alt.slice(first, first + numBins);
      const difference = alt.map((value, i) => value - ref[i]);
      add(place, "h3", {}, data.tracks[track.index]);
      const high = Math.max(...ref, ...alt);
      const both = [{ name: "ref", values: ref }, { name: "alt", values: alt }];
      panel(place, "REF (grey), ALT (blue)", both, 0, high, first, variant, data.bin_bp);
      const reach = Math.max(...difference.map(Math.abs));
      const one = [{ name: "difference", values: difference }];
      panel(place, "ALT - REF", one, -reach, reach, first, variant, data.bin_bp);
    }
    if (!variant.tracks.length) add(place, "p", {}, data.no_tracks);
  }

  // igv.js puts names into the page as HTML: only harmless characters reach it.
  const plain = (text) => text.replace(/[^\w .,:;()+/-]/g, "_");

  function features(variant, values) {
    return values.map((value, i) => {
      const start = variant.start + i * data.bin_bp;
      return { chr: variant.chrom, start: Math.max(start, 0), end: start + data.bin_bp, value };
    }).filter((feature) => feature.end > 0);
  }

  function browserTracks(variant) {
    const found = [{
      name: "variant", type: "annotation", height: 40, displayMode: "EXPANDED",
      features: [{ chr: variant.chrom, start: variant.position - 1, end: variant.position - 1 + variant.ref_length, name: plain(variant.name) }],
    }];
    for (const track of variant.tracks) {
      const name = plain(data.tracks[track.index]);
      const wig = (color, values) => ({ type: "wig", format: "bedgraph", color, features: features(variant, values) });
      found.push({ name: `REF, ALT ${name}`, type: "merged", height: 80, alpha: 0.5, tracks: [wig("#7f7f7f", track.ref), wig("#0b62a4", track.alt)] });
      const difference = wig("#d1495b", track.alt.map((value, i) => value - track.ref[i]));
      found.push({ ...difference, name: `ALT - REF ${name}`, height: 80, autoscale: true });
    }
    return found;
  }

  let turn = Promise.resolve();

  function drawBrowser(variant, spanBp) {
    if (!window.igv) return;
    const place = document.getElementById("browser");
    const middle = variant.position - 1;
    const locus = `${variant.chrom}:${Math.max(1, middle - (spanBp >> 1))}-${middle + (spanBp >> 1)}`;
    const contigs = new File([data.contigs], "contigs.txt"); // igv.js 3.8.10 cannot read sizes from a data: URL
    turn = turn.then(async () => {
      igv.removeAllBrowsers();
      await igv.createBrowser(place, {
        loadDefaultGenomes: false, showIdeogram: false, locus, tracks: browserTracks(variant),
        reference: { id: "genome", name: plain(data.genome), format: "chromsizes", fastaURL: contigs, wholeGenomeView: false },
      });
      place.dataset.drawn = variant.name;
    }).catch((error) => { place.dataset.error = String(error); });
  }

  let chosen = 0;

  function show() {
    const variant = data.variants[chosen];
    if (!variant) return;
    const numBins = Number(document.getElementById("zoom").value);
    for (const row of rows) row.classList.toggle("chosen", Number(row.dataset.index) === chosen);
    document.getElementById("chosen").textContent = variant.name;
    drawTracks(variant, numBins);
    drawBrowser(variant, numBins * data.bin_bp);
  }

  document.querySelectorAll("#variants th").forEach((header, column) => header.addEventListener("click", () => sortBy(column, header)));
  document.getElementById("filter").addEventListener("input", (event) => filterBy(event.target.value));
  document.getElementById("zoom").addEventListener("change", show);
  for (const row of rows) row.addEventListener("click", () => { chosen = Number(row.dataset.index); show(); });
  filterBy("");
  show();
})();
