// SPDX-License-Identifier: LGPL-2.1-or-later
// Every part takes its steps by itself; the result depends only on the order within each part.
'use strict';
const {Worker, isMainThread, parentPort, workerData} = require('worker_threads');
const {spawn} = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const net = require('net');
const readline = require('readline');
const zlib = require('zlib');

const STEPS = 100;
const nap = (ms) => new Promise((done) => setTimeout(done, ms));

async function work(name) {
	let hash = name;
	for (let i = 0; i < STEPS; i++) {
		for (let k = 0; k < 200; k++)
			hash = crypto.createHash('sha256').update(hash).digest('hex');
		parentPort.postMessage({step: i, hash, filler: Array.from({length: 500}, (_, n) => ({n}))});
		await nap(15);
	}
}

function workers(name) {
	return new Promise((done, failed) => {
		const lines = [];
		const w = new Worker(__filename, {workerData: name});
		w.on('message', (m) => lines.push(`${name} ${m.step} ${m.hash} ${m.filler.length}`));
		w.on('error', failed);
		w.on('exit', (code) => done([...lines, `${name} exit ${code}`]));
	});
}

async function child() {
	const lines = [];
	const c = spawn('awk', ['{ sum += $1 * NR; print sum; fflush() } END { exit 7 }'], {stdio: ['pipe', 'pipe', 'inherit']});
	const answers = readline.createInterface({input: c.stdout})[Symbol.asyncIterator]();
	const ended = new Promise((done) => c.on('close', (code, signal) => done(`child ${code} ${signal}`)));
	for (let i = 0; i < STEPS; i++) {
		c.stdin.write(`${i}\n`);
		lines.push(`answer ${(await answers.next()).value}`);
		await nap(12);
	}
	c.stdin.end();
	return [...lines, await ended];
}

async function forked() {
	const c = spawn(process.execPath, ['-e', 'process.on("message", (m) => m.end ? process.disconnect() : process.send(m.n * 3))'],
		{stdio: ['ignore', 'inherit', 'inherit', 'ipc']});
	const ended = new Promise((done) => c.on('exit', done));
	let sum = 0;
	for (let n = 0; n < STEPS; n++) {
		const answer = new Promise((done) => c.once('message', done));
		c.send({n});
		sum += await answer;
		await nap(15);
	}
	c.send({end: true});
	return [`forked ${sum}, ${await ended}`];
}

async function server() {
	const path = 'socket';
	const s = net.createServer((peer) => {
		peer.setEncoding('utf8');
		peer.on('data', (text) => setTimeout(() => peer.write(text.toUpperCase()), 3));
		peer.on('end', () => peer.end());
	});
	await new Promise((done) => s.listen(path, done));
	const lines = [];
	for (let round = 0; round < 10; round++) {
		const client = net.connect(path).setEncoding('utf8');
		const answers = client[Symbol.asyncIterator]();
		for (let i = 0; i < STEPS / 10; i++) {
			client.write(`line ${round}.${i}`);
			lines.push(`served ${(await answers.next()).value}`);
			await nap(12);
		}
		client.end();
		await answers.next();
	}
	await new Promise((done) => s.close(done));
	return lines;
}

async function files() {
	const sums = [];
	const stream = fs.createWriteStream('written', {flags: 'a'});
	const appended = await fs.promises.open('appended', 'a'); // kept open: so a restart knows where it ended
	for (let i = 0; i < STEPS; i++) {
		const packed = await new Promise((done, failed) =>
			zlib.deflate(Buffer.alloc(20000, `${i} `), (error, data) => error ? failed(error) : done(data)));
		await appended.writeFile(packed);
		await new Promise((done) => stream.write(packed, done));
		sums.push(packed.length);
		await nap(12);
	}
	await Promise.all([appended.close(), new Promise((done) => stream.end(done))]);
	const same = fs.readFileSync('written').equals(fs.readFileSync('appended'));
	return [`files ${same} ${sums.reduce((a, b) => a + b)}`];
}

async function main() {
	let ticks = 0;
	const ticking = new Promise((done) => {
		const interval = setInterval(() => {
			if (++ticks === STEPS)
				done(clearInterval(interval));
		}, 20);
	});
	// Children first: while a worker begins, V8 has /proc/self/maps open without O_CLOEXEC, and a child would keep it.
	const children = [child(), forked()];
	await nap(50);
	const parts = await Promise.all([...children, workers('a'), workers('b'), server(), files()]);
	await ticking;
	for (const lines of parts)
		fs.appendFileSync('out', lines.join('\n') + '\n');
	fs.appendFileSync('out', `ticks ${ticks}\n`);
	console.log('done');
}

if (isMainThread)
	main();
else
	work(workerData);
