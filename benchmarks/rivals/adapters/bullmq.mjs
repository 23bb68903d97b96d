// BullMQ on Node: one Worker, many jobs at once, jobs removed when they are done. Does what desk.py does for the others.

import { existsSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const room = process.env.RIVAL_ROOM;
const home = `${process.env.RIVAL_HOME}/package.json`;
const require = createRequire(home);
const [role, ...rest] = process.argv.slice(2);
const CHUNK = 1000;
const NAP = 50;

const now = () => process.hrtime.bigint(); // the system's monotonic clock, in nanoseconds
const data = (n) => ({ n, user: "user@example.org", template: "welcome" });

function connection() {
  const url = new URL(process.env.RIVAL_URL);
  return { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
}

function recorder() {
  const journal = openSync(`${room}/journal`, "a");
  const record = Buffer.alloc(16);
  return (n) => {
    record.writeBigInt64LE(BigInt(n), 0);
    record.writeBigInt64LE(now(), 8);
    writeSync(journal, record);
  };
}

async function work() {
  const { Worker } = require("bullmq");
  const ran = recorder();
  writeFileSync(`${room}/ready-${process.pid}`, "");
  while (!existsSync(`${room}/go`)) await sleep(2);
  const worker = new Worker(
    "bench",
    async (job) => {
      if (job.name === "nap") await sleep(NAP);
      ran(job.data.n);
    },
    { connection: connection(), concurrency: Number(process.env.RIVAL_SLOTS) },
  );
  process.on("SIGTERM", () => worker.close().then(() => process.exit(0)));
}

async function produce(task, first, n, warm, gap, how) {
  const { Queue } = require("bullmq");
  const queue = new Queue("bench", { connection: connection(), defaultJobOptions: { removeOnComplete: true } });
  let number = Number(first);
  const end = number + Number(n);
  for (const last = number + Number(warm); number < last; number++) await queue.add(task, data(number));
  const sent = [];
  const began = now();
  if (how === "many") {
    for (; number < end; number += CHUNK) {
      const jobs = [];
      for (let each = number; each < Math.min(end, number + CHUNK); each++) jobs.push({ name: task, data: data(each) });
      await queue.addBulk(jobs);
    }
  } else {
    for (; number < end; number++) {
      if (Number(gap)) {
        await sleep(Number(gap) * 1000);
        sent.push([number, Number(now())]);
      }
      await queue.add(task, data(number));
    }
  }
  const seconds = Number(now() - began) / 1e9;
  await queue.close();
  return { seconds, sent };
}

function imported() {
  const began = now();
  require("bullmq");
  const seconds = Number(now() - began) / 1e9;
  const pinned = JSON.parse(readFileSync(home)).dependencies.bullmq;
  return { seconds, version: pinned, runtime: `Node ${process.versions.node}` };
}

if (role === "work") await work();
else if (role === "import") console.log(JSON.stringify(imported()));
else if (role === "produce") console.log(JSON.stringify(await produce(...rest)));
