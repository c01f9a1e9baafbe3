'use strict';
// Draws the timeline. Times are in microseconds since the run began.
const D = JSON.parse(document.getElementById('data').textContent);
const canvas = document.getElementById('time'), tip = document.getElementById('tip'), where = document.getElementById('where');
const g = canvas.getContext('2d');
// Okabe and Ito's palette, which people with colour-blindness can tell apart; red is kept for violations.
const COLOURS = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#8a6d00', '#6a4c93', '#4d4d4d'];
const LEFT = 150, ROW = 13, GAP = 9, HEAD = 22, RED = '#b3001b';
const workers = [...new Set(D.holds.map(h => h.w).concat(D.faults.map(f => f.on).filter(Boolean)))].sort();
const colour = w => COLOURS[Math.max(0, workers.indexOf(w)) % COLOURS.length];
const problems = D.found.filter(f => !f.explained), marks = problems.length ? problems : D.found;
let from = 0, to = D.end, at = -1, shapes = [];

// A lane for each bar, so that what overlaps stands above each other.
const keys = D.keys.map(name => ({ name, lanes: 1, holds: D.holds.filter(h => h.k === name).sort((a, b) => a.f - b.f) }));
for (const key of keys) {
  const ends = [];
  for (const h of key.holds) {
    let lane = ends.findIndex(end => end <= h.f);
    if (lane < 0) lane = ends.length;
    ends[lane] = h.t;
    h.lane = lane;
  }
  key.lanes = Math.max(1, ends.length);
}
const faultRows = ['all', ...workers];
let y = HEAD;
const rowOf = {};
for (const row of faultRows) { rowOf[row] = y; y += ROW; }
y += GAP;
for (const key of keys) { key.y = y; key.h = key.lanes * ROW; y += key.h + GAP; }
const HEIGHT = y + 4;

const x = t => LEFT + (t - from) / (to - from) * (canvas.clientWidth - LEFT - 6);
const time = px => from + (px - LEFT) / (canvas.clientWidth - LEFT - 6) * (to - from);
const ms = t => (t / 1000).toFixed(to - from < 1e5 ? 2 : to - from < 1e7 ? 0 : 0) + ' ms';

function hatch(c) {
  const p = document.createElement('canvas'); p.width = p.height = 8;
  const q = p.getContext('2d'); q.strokeStyle = c; q.lineWidth = 2;
  q.beginPath(); q.moveTo(-2, 6); q.lineTo(6, -2); q.moveTo(2, 10); q.lineTo(10, 2); q.stroke();
  return g.createPattern(p, 'repeat');
}
const HATCH = hatch('#555'), BADHATCH = hatch(RED);

function draw() {
  const w = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
  canvas.width = w * ratio; canvas.height = HEIGHT * ratio; canvas.style.height = HEIGHT + 'px';
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.fillStyle = '#fff'; g.fillRect(0, 0, w, HEIGHT);
  g.font = '11px system-ui, "DejaVu Sans", sans-serif'; g.textBaseline = 'middle';
  shapes = [];
  g.save(); g.beginPath(); g.rect(LEFT, 0, w - LEFT, HEIGHT); g.clip();
  axis(w);
  for (const f of D.faults) fault(f);
  for (const f of D.found) if (!f.explained) behind(f);
  for (const key of keys) for (const h of key.holds) bar(key, h);
  for (const m of D.writes) refused(m);
  for (const f of D.found) found(f);
  g.restore();
  labels(w);
  where.textContent = 'shown: ' + ms(from) + ' to ' + ms(to) + (marks.length ? '; ' + problems.length + ' violations, ' + (D.found.length - problems.length) + ' explained' : '; no violation');
}

function axis(w) {
  const span = to - from, step = Math.pow(10, Math.floor(Math.log10(span / 4))), n = span / step > 20 ? 5 : span / step > 8 ? 2 : 1;
  for (let t = Math.ceil(from / (step * n)) * step * n; t <= to; t += step * n) {
    g.strokeStyle = '#e4e4e4'; g.beginPath(); g.moveTo(x(t), HEAD); g.lineTo(x(t), HEIGHT); g.stroke();
    g.fillStyle = '#5a5a5a'; g.fillText(ms(t), x(t) + 3, 10);
  }
}

function fault(f) {
  if (f.t < from || f.f > to) return;
  const a = x(f.f), b = Math.max(x(f.t), a + 2), top = rowOf[f.on || 'all'];
  g.globalAlpha = f.on ? 0.13 : 0.22; g.fillStyle = f.on ? colour(f.on) : '#777';
  g.fillRect(a, HEAD, b - a, HEIGHT - HEAD); g.globalAlpha = 1;
  g.strokeStyle = '#777'; g.setLineDash([3, 3]); g.beginPath(); g.moveTo(a, HEAD); g.lineTo(a, HEIGHT); g.stroke(); g.setLineDash([]);
  g.fillStyle = f.on ? colour(f.on) : '#333'; g.fillRect(a, top + 1, b - a, ROW - 2);
  g.fillStyle = HATCH; g.fillRect(a, top + 1, b - a, ROW - 2);
  write(f.kind, a, b, top, '#fff', '#000');
  shapes.push([a, top, b, top + ROW, 'fault: ' + f.kind + (f.on ? ' on ' + f.on : ', all') + '\n' + f.what + '\n' + ms(f.f) + ' to ' + ms(f.t)]);
}

function write(text, a, b, top, light, plate) {
  const wide = g.measureText(text).width;
  if (b - a < wide + 6) return;
  if (plate) { g.fillStyle = plate; g.globalAlpha = 0.75; g.fillRect(a + 1, top + 1, wide + 5, ROW - 2); g.globalAlpha = 1; }
  g.fillStyle = light; g.fillText(text, Math.max(a, LEFT) + 3, top + ROW / 2 + 0.5);
}

function bar(key, h) {
  if (h.t < from || h.f > to) return;
  const a = x(h.f), b = Math.max(x(h.t), a + 1), top = key.y + h.lane * ROW;
  g.fillStyle = colour(h.w); g.fillRect(a, top + 1, b - a, ROW - 2);
  if (h.m !== 'x') { g.fillStyle = 'rgba(255,255,255,.45)'; g.fillRect(a, top + 4, b - a, ROW - 8); }
  if (h.bad) { g.strokeStyle = RED; g.lineWidth = 2; g.strokeRect(a, top + 1, b - a, ROW - 2); g.lineWidth = 1; }
  if (h.e !== 'released' && b - a > 3) { g.fillStyle = '#000'; g.fillRect(b - 2, top, 2, ROW); }
  write(h.w + (h.m === 'x' ? '' : ' ' + h.m), a, b, top, '#fff', '#222');
  shapes.push([a, top, b, top + ROW, h.id + ' holds ' + key.name + ' (' + h.m + ')\n' + ms(h.f) + ' to ' + ms(h.t) + (h.n != null ? '\nfence ' + h.n : '') + '\n' + h.e]);
}

function refused(m) {
  const key = keys.find(k => k.name === m.k);
  if (!key || m.t < from || m.t > to) return;
  const a = x(m.t), c = key.y + key.h + 3;
  g.fillStyle = '#fff'; g.strokeStyle = '#000'; g.lineWidth = 1.5;
  g.beginPath(); g.moveTo(a, c - 5); g.lineTo(a + 5, c); g.lineTo(a, c + 5); g.lineTo(a - 5, c); g.closePath(); g.fill(); g.stroke(); g.lineWidth = 1;
  shapes.push([a - 6, c - 6, a + 6, c + 6, 'the resource refused a write of ' + m.h + '\n(fence ' + m.n + '): ' + ms(m.t)]);
}

function box(f) {
  const key = keys.find(k => k.name === f.k);
  const top = key ? key.y - 3 : HEAD, h = key ? key.h + 6 : HEIGHT - HEAD;
  return [x(f.f), Math.max(x(f.t), x(f.f) + 3), top, h];
}

// The hatch lies under the bars, so that they can be read.
function behind(f) {
  if (f.t < from || f.f > to) return;
  const [a, b, top, h] = box(f);
  g.fillStyle = '#fff'; g.fillRect(a, top, b - a, h); g.fillStyle = BADHATCH; g.fillRect(a, top, b - a, h);
}

function found(f) {
  if (f.t < from || f.f > to) return;
  const [a, b, top, h] = box(f);
  if (f.explained) { g.strokeStyle = '#000'; g.setLineDash([2, 2]); g.strokeRect(a, top, b - a, h); g.setLineDash([]); }
  else {
    g.strokeStyle = RED; g.lineWidth = 2.5; g.strokeRect(a, top, b - a, h); g.lineWidth = 1;
    g.fillStyle = RED; g.beginPath(); g.moveTo(a, HEAD); g.lineTo(a - 7, HEAD - 11); g.lineTo(a + 7, HEAD - 11); g.closePath(); g.fill();
    g.globalAlpha = 0.6; g.fillRect(a - 0.5, HEAD, 1.5, top - HEAD); g.globalAlpha = 1;
  }
  shapes.unshift([a, top, b, top + h, (f.explained ? 'explained: ' : 'VIOLATION: ') + f.i + ' ' + f.c + '\n' + f.what]);
}

function labels(w) {
  g.fillStyle = '#fff'; g.fillRect(0, 0, LEFT, HEIGHT);
  g.fillStyle = '#1b1b1b';
  for (const row of faultRows) g.fillText(row === 'all' ? 'faults: all' : 'faults: ' + row, 6, rowOf[row] + ROW / 2);
  g.font = 'bold 11px system-ui, "DejaVu Sans", sans-serif';
  for (const key of keys) g.fillText(key.name.replace('torture/', ''), 6, key.y + key.h / 2);
  g.strokeStyle = '#999'; g.beginPath(); g.moveTo(LEFT - 0.5, 0); g.lineTo(LEFT - 0.5, HEIGHT); g.stroke();
}

function show(a, b) {
  const span = Math.min(Math.max(b - a, 200), D.end);
  from = Math.max(0, Math.min(a, D.end - span)); to = from + span; draw();
}
function zoom(by, centre) {
  const c = centre === undefined ? (from + to) / 2 : centre;
  show(c - (c - from) * by, c + (to - c) * by);
}
function move(by) { const s = to - from; show(from + s * by, from + s * by + s); }
function jump(n) {
  if (!marks.length) return;
  at = (n + marks.length) % marks.length;
  const m = marks[at], pad = Math.max((m.t - m.f) * 1.5, 20000);
  show(m.f - pad, m.t + pad);
}

canvas.addEventListener('wheel', e => { e.preventDefault(); zoom(e.deltaY > 0 ? 1.25 : 0.8, time(e.offsetX)); }, { passive: false });
let grab = null;
canvas.addEventListener('pointerdown', e => { grab = [e.offsetX, from, to]; canvas.setPointerCapture(e.pointerId); });
canvas.addEventListener('pointerup', () => { grab = null; });
canvas.addEventListener('pointermove', e => {
  if (grab) { const d = (grab[0] - e.offsetX) / (canvas.clientWidth - LEFT) * (grab[2] - grab[1]); show(grab[1] + d, grab[2] + d); return; }
  const hit = shapes.find(s => e.offsetX >= s[0] - 2 && e.offsetX <= s[2] + 2 && e.offsetY >= s[1] && e.offsetY <= s[3]);
  tip.style.display = hit ? 'block' : 'none';
  if (hit) { tip.textContent = hit[4]; tip.style.left = Math.min(e.offsetX + 12, canvas.clientWidth - 440) + 'px'; tip.style.top = e.offsetY + 14 + 'px'; }
});
canvas.addEventListener('pointerleave', () => { tip.style.display = 'none'; });
canvas.addEventListener('keydown', e => {
  const does = { '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1.6), ArrowLeft: () => move(-0.2), ArrowRight: () => move(0.2), Home: () => show(0, D.end) }[e.key];
  if (does) { e.preventDefault(); does(); }
});
const on = (id, does) => document.getElementById(id).addEventListener('click', does);
on('all', () => show(0, D.end)); on('in', () => zoom(0.5)); on('out', () => zoom(2));
on('left', () => move(-0.3)); on('right', () => move(0.3)); on('prev', () => jump(at - 1)); on('next', () => jump(at + 1));
for (const b of document.querySelectorAll('button[data-f]')) b.addEventListener('click', () => {
  const f = +b.dataset.f, t = +b.dataset.t, pad = Math.max((t - f) * 1.5, 20000);
  show(f - pad, t + pad); document.getElementById('wrap').scrollIntoView({ behavior: 'smooth' });
});
window.addEventListener('resize', draw);

function legend() {
  const el = document.getElementById('legend');
  const add = (style, text) => { const s = document.createElement('span'), i = document.createElement('i'); i.style.cssText = style; s.append(i, text); el.append(s); };
  for (const w of workers) add('background:' + colour(w), w);
  add('background:linear-gradient(#555 30%,#bbb 30%,#bbb 70%,#555 70%)', 'shared or counted');
  add('background:#555;border-right:4px solid #000', 'ended by death, loss or expiry');
  add('background:repeating-linear-gradient(45deg,#999 0 3px,#ddd 3px 6px)', 'a fault, drawn across all keys');
  add('border:2.5px solid ' + RED + ';background:repeating-linear-gradient(45deg,' + RED + ' 0 2px,#fff 2px 6px)', 'VIOLATION');
  add('border:2px dashed #000', 'would be one, explained by a fault');
  add('background:#fff;transform:rotate(45deg) scale(.6);width:14px', 'a stale write, refused by its fence');
}
legend();
// A link may open at a place: #from-to in milliseconds.
const asked = /^#(\d+)-(\d+)$/.exec(location.hash);
if (asked) show(asked[1] * 1000, asked[2] * 1000); else if (problems.length) jump(0); else draw();
