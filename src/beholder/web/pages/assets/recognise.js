// From a photo to its labels: the requests, and why there is no answer, in words of the page.

import { ask, Failure } from "./service.js";

const WORDS = {
  image_missing: "This file is empty.",
  image_truncated: "This photo is incomplete: its end is missing.",
  multipart_malformed: "The photo did not arrive whole.",
};

const pause = (seconds, signal) => new Promise((go, stop) => {
  const timer = setTimeout(go, seconds * 1000);
  signal.addEventListener("abort", () => { clearTimeout(timer); stop(signal.reason); });
});

export const inWords = ({ code, detail }) => WORDS[code] || detail;

async function jobOf(path, options) {
  const answer = await ask(path, options);
  let job;
  try {
    job = await answer.json();
  } catch {
    throw new Failure("The service's answer cannot be read.", { mayTryAgain: true });
  }
  return [job, Number(answer.headers.get("retry-after")) || 1];
}

/** Return a job once it is finished; `told` hears of it before. */
async function finished(job, retryS, signal, told) {
  while (job.status === "queued" || job.status === "running") {
    told(job);
    await pause(retryS, signal);
    [job, retryS] = await jobOf(job.urls.get, { signal });
  }
  if (job.status === "succeeded") return job;
  throw new Failure(job.error ? inWords(job.error) : `The job is ${job.status}.`, { mayTryAgain: true });
}

export async function recognise(file, options, bytesMax, signal, told) {
  if (!file.size) throw new Failure("This file is empty.");
  if (file.size > bytesMax) throw new Failure(`The file has more than ${bytesMax / 1e6} MB; send a smaller image.`);
  const query = new URLSearchParams({ ...options, file_name: file.name });
  return finished(...await jobOf(`/v1/classify?${query}`, { method: "POST", body: file, signal }), signal, told);
}

/** Return the finished job of an id. */
export async function reopened(id, signal, told) {
  return finished(...await jobOf(`/v1/jobs/${encodeURIComponent(id)}`, { signal }), signal, told);
}

/** Ask that a job whose labels are wanted no more is not run; it may be over by now. */
export const cancelJob = (id) => ask(`/v1/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" }).catch(() => {});
