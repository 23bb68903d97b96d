"""How the census page looks."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #ffffff; --ink: #1d2129; --quiet: #5d6572; --edge: #e3e1dc;
  --mark: #2f6f8f; --area: #2f6f8f22; --hot: #c2571a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171c; --card: #1c2027; --ink: #e8e6e1; --quiet: #9aa3b0; --edge: #2f353f;
    --mark: #6fb3d2; --area: #6fb3d22e; --hot: #f0924f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 80rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .5rem 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0; }
p { margin: .1rem 0 .6rem; color: var(--quiet); font-size: .9rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .5rem; margin: 1rem 0; }
.figures div, figure, section, details {
  background: var(--card); border: 1px solid var(--edge); border-radius: .6rem; padding: .8rem; }
.figures div { padding: .5rem .8rem; }
dt { color: var(--quiet); font-size: .8rem; }
dd { margin: 0; font-size: 1.35rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.charts { display: grid; gap: .8rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 0; min-width: 0; }
svg { display: block; width: 100%; max-width: 29rem; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); }
svg .tick, svg .axis, svg .value { fill: var(--quiet); font-size: 11.5px; }
svg .grid { stroke: var(--edge); stroke-width: 1; }
svg .mark { fill: var(--mark); }
svg g:hover .mark, svg .dot:hover { fill: var(--hot); }
svg .cloud { stroke: var(--mark); stroke-width: 3.6; stroke-linecap: round; stroke-opacity: .3; fill: none; }
svg .dot { fill: var(--mark); fill-opacity: .85; stroke: var(--card); stroke-width: .6; }
svg .area { fill: var(--area); }
svg .line { fill: none; stroke: var(--mark); stroke-width: 2; stroke-linejoin: round; }
section, details { margin-top: .8rem; }
details section { border: 0; padding: 0; }
summary { cursor: pointer; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--edge);
  overflow-wrap: anywhere; }
td:first-child { min-width: 9rem; }
td:last-child { padding-right: 0; }
th { color: var(--quiet); font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
@media (max-width: 40rem) {
  .wide { min-width: 34rem; }
  .stacked thead { display: none; }
  .stacked td { display: block; border: 0; padding: 0; }
  .stacked td:first-child { font-weight: 600; padding-top: .4rem; }
  .stacked td:last-child { color: var(--quiet); padding-bottom: .4rem; border-bottom: 1px solid var(--edge); }
}
"""
