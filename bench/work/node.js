// SPDX-License-Identifier: GPL-2.0-or-later
// What V8 compiles while it runs: objects, closures, strings, numbers, maps.
'use strict';
const rounds = Number(process.argv[2] || 10);

function random(state) {
	return (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
}

class Point {
	constructor(x, y) { this.x = x; this.y = y; }
	plus(other) { return new Point(this.x + other.x, this.y + other.y); }
}

function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

function words(count, seed) {
	const out = [];
	for (let i = 0; i < count; i++) {
		seed = random(seed);
		out.push('w' + (seed % 997).toString(36));
	}
	return out;
}

let total = 0;
for (let round = 0; round < rounds; round++) {
	const list = words(4000, round + 1);
	const counts = new Map();
	for (const word of list)
		counts.set(word, (counts.get(word) || 0) + 1);
	const sorted = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
	const text = JSON.stringify(sorted);
	total += JSON.parse(text).length + text.replace(/w([0-9a-z])/g, '$1x').length;

	let sum = new Point(0, 0);
	for (let i = 0; i < 20000; i++)
		sum = sum.plus(new Point(i & 7, i % 11));
	total += sum.x + sum.y;

	const matrix = new Float64Array(64 * 64).map((_, i) => (i * 7 % 13) / 4);
	const product = new Float64Array(64 * 64);
	for (let i = 0; i < 64; i++)
		for (let j = 0; j < 64; j++) {
			let cell = 0;
			for (let k = 0; k < 64; k++)
				cell += matrix[i * 64 + k] * matrix[k * 64 + j];
			product[i * 64 + j] = cell;
		}
	total += product[round % 4096];

	// A function that did not exist before
	const made = new Function('n', `let s = 0; for (let i = 0; i < n; i++) s = (s + i * ${round + 3}) | 0; return s;`);
	total += made(20000) + fib(17);
}
console.log(total);
