// Uses the gateway through ActivityWatch's client for JavaScript, as watchers in
// browsers and editors do, and prints what it saw as JSON.
"use strict";

const { AWClient } = require("aw-client");

const bucket = "aw-watcher-web-test";
const start = Date.parse("2024-03-01T10:00:00Z");
const at = (seconds) => new Date(start + 1000 * seconds);
const tab = (seconds, title) => ({
  timestamp: at(seconds),
  duration: 0,
  data: { url: "https://example.org/", title, audible: false, incognito: false },
});

// Each promise is settled before the next begins, unless they are sent together.
async function main(port) {
  const client = new AWClient("aw-client-web", {
    testing: true,
    baseURL: `http://127.0.0.1:${port}`,
  });
  const seen = { info: await client.getInfo() };

  seen.made = await client.ensureBucket(bucket, "web.tab.current", "box");
  seen.madeAgain = await client.ensureBucket(bucket, "web.tab.current", "box");
  seen.buckets = await client.getBuckets();
  seen.bucket = await client.getBucketInfo(bucket);

  // The client queues heartbeats: they are sent one after the other.
  await Promise.all(
    [0, 30, 60, 90].map((s) => client.heartbeat(bucket, 80, tab(s, s < 90 ? "one" : "two"))),
  );
  seen.heartbeats = await client.getEvents(bucket);

  await client.insertEvent(bucket, { ...tab(3600, "three"), duration: 5 });
  await client.insertEvents(bucket, [tab(3700, "four"), tab(3800, "five")]);
  seen.count = await client.countEvents(bucket);
  seen.range = await client.getEvents(bucket, { start: at(3600), end: at(3750), limit: 10 });
  const [last] = await client.getEvents(bucket, { limit: 1 });
  await client.replaceEvent(bucket, { ...last, data: { ...last.data, title: "six" } });
  seen.replaced = await client.getEvent(bucket, last.id);
  await client.deleteEvent(bucket, last.id);
  seen.countAfter = await client.countEvents(bucket);
  try {
    await client.getEvent(bucket, last.id);
  } catch (error) {
    seen.missing = error.response.status;
  }

  seen.query = await client.query(
    [{ start: at(0), end: at(7200) }],
    [`events = query_bucket("${bucket}");`, "RETURN = sum_durations(events);"],
  );
  await client.set_setting("theme", { name: "dark", scale: 1.5 });
  seen.setting = await client.get_setting("theme");
  seen.settings = await client.get_settings();

  const other = "to-delete";
  await client.createBucket(other, "test", "box");
  await client.deleteBucket(other);
  seen.left = Object.keys(await client.getBuckets());
  return seen;
}

main(process.argv[2]).then(
  (seen) => console.log(JSON.stringify(seen)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
