// From what a person drops or chooses to a list of photos and zips; folders are read whole.

const IMAGE = /\.(jpe?g|png|webp|gif|tiff?|bmp|avif|heic|heif)$/i;
export const isImage = (file) => file.type.startsWith("image/") || IMAGE.test(file.name);

function entriesOf(directory) {
  const reader = directory.createReader();
  const more = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
  // A reader gives at most a hundred entries at a time, and none at the end.
  return (async () => {
    const found = [];
    for (let part = await more(); part.length; part = await more()) found.push(...part);
    return found.sort((a, b) => a.name.localeCompare(b.name));
  })();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const inside = [];
  for (const one of await entriesOf(entry)) inside.push(...await filesOf(one));
  return inside;
}

export const isZip = (file) => /^application\/(x-)?zip(-compressed)?$/.test(file.type) || /\.zip$/i.test(file.name);

/** Return the photos and zips of a folder, and how many other files it has. */
export function ofFolder(files) {
  const photos = Array.from(files).filter((file) => isImage(file) || isZip(file));
  return { photos, others: files.length - photos.length };
}

/** Return the photos that were dropped; a file that was dropped by itself is taken whatever it is. */
export async function ofDrop(data) {
  // The entries are gone after the first wait, so they are taken at once.
  const items = Array.from(data.items).filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.());
  if (!entries.some((entry) => entry?.isDirectory)) return { photos: Array.from(data.files), others: 0 };
  const photos = [];
  let others = 0;
  for (const entry of entries.filter(Boolean)) {
    const found = await filesOf(entry);
    const kept = entry.isDirectory ? ofFolder(found) : { photos: found, others: 0 };
    photos.push(...kept.photos);
    others += kept.others;
  }
  return { photos, others };
}
