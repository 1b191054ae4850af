"""The look of a page: a narrow column that fits a phone, a sheet, light and dark.

Colours are variables, so that drawings inside a page follow its scheme. Nothing is
loaded from elsewhere and nothing runs.
"""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1c1f23; --faint: #5c6570; --rule: #dfe3e8;
  --box: #f5f7f9;
  --c0: #1f5fa8; --c1: #c4501a; --c2: #237a4b; --c3: #8a4fa3; --c4: #8f6a12;
  --c5: #4a4a4a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --ink: #e6e9ec; --faint: #a3adb8; --rule: #343a42;
    --box: #1e2329;
    --c0: #7db3f0; --c1: #f0996b; --c2: #6fcf97; --c3: #cf9be6; --c4: #e0bd5e;
    --c5: #c4c9cf;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 62rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans",
    sans-serif;
  overflow-wrap: break-word;
}
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 0.4rem; }
h2 {
  font-size: 1.2rem; margin: 2.4rem 0 0.7rem; padding-top: 0.7rem;
  border-top: 1px solid var(--rule);
}
h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; }
p { margin: 0.5rem 0; max-width: 46rem; }
a { color: var(--c0); }
.lead { font-size: 1.1rem; }
.note, figcaption { color: var(--faint); font-size: 0.9rem; }
pre {
  background: var(--box); border: 1px solid var(--rule); border-radius: 6px;
  padding: 0.7rem 0.9rem; margin: 0.6rem 0; font-size: 0.85rem; line-height: 1.5;
  white-space: pre-wrap; overflow-wrap: anywhere; user-select: all;
}
pre.command { overflow-x: auto; overflow-wrap: normal; }
pre.command span { white-space: nowrap; }
code, pre { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.scroll { overflow-x: auto; margin: 0.6rem 0; }
.scroll:focus-visible { outline: 2px solid var(--c0); }
table {
  border-collapse: collapse; font-size: 0.92rem; font-variant-numeric: tabular-nums;
}
caption { text-align: left; color: var(--faint); padding-bottom: 0.3rem; }
th, td {
  padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid var(--rule);
  text-align: left; vertical-align: top;
}
th { font-weight: 600; }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; }
tbody th { font-weight: 500; min-width: 7rem; }
details { margin: 0.6rem 0; }
summary { cursor: pointer; }
figure { margin: 0; min-width: 0; }
figure img { max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
.charts {
  display: grid; gap: 1.2rem 1.6rem; margin: 0.8rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
}
svg { display: block; width: 100%; height: auto; max-width: 34rem; }
svg text { fill: var(--ink); font-size: 12px; }
svg .axis, svg .grid { stroke: var(--rule); fill: none; }
svg .axis { stroke: var(--faint); }
svg .line {
  fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round;
}
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); }
.s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); }
.f3 { fill: var(--c3); } .f4 { fill: var(--c4); } .f5 { fill: var(--c5); }
.legend {
  list-style: none; padding: 0; margin: 0.3rem 0; font-size: 0.85rem;
  display: flex; flex-wrap: wrap; gap: 0.1rem 1rem;
}
.legend svg {
  display: inline-block; width: 1.6em; height: 0.7em; margin-right: 0.4em;
}
.rows { display: grid; grid-template-columns: max-content 1fr; gap: 0.35rem 0.9rem; }
.rows > .name {
  align-self: center; font-size: 0.9rem; max-width: 9rem; overflow-wrap: anywhere;
}
.singles { display: flex; flex-wrap: wrap; gap: 0.8rem; }
.singles .name {
  font-size: 0.85rem; text-align: center; max-width: 6rem; overflow-wrap: anywhere;
}
.tiles { display: flex; flex-wrap: wrap; gap: 3px; align-items: flex-start; }
.tiles img { image-rendering: pixelated; display: block; max-width: 100%; }
.columns { grid-template-columns: max-content repeat(3, minmax(0, 1fr)); }
.columns > .head { font-size: 0.85rem; color: var(--faint); align-self: end; }
@media (max-width: 34rem) {
  body { padding-top: 1rem; }
  h1 { font-size: 1.35rem; }
  .lead { font-size: 1rem; }
  .columns { gap: 0.35rem 0.5rem; }
  .columns .tiles img { width: 30px; height: auto; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #ffffff; --ink: #000000; --faint: #444444; --rule: #cccccc;
    --box: #ffffff;
    --c0: #1f5fa8; --c1: #c4501a; --c2: #237a4b; --c3: #8a4fa3; --c4: #8f6a12;
    --c5: #4a4a4a;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; }
  figure, tr, .tiles, pre { break-inside: avoid; }
  .scroll { overflow: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
