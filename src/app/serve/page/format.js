// Numbers and dates for people.

/** Seconds as 1:02 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(Number.isFinite(seconds) ? seconds : 0));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A time to wait, roughly: "12 s", "3 min", "2 h 10 min". */
export function about(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Bytes as kB, MB or GB (powers of 1000). */
export function size(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/** A moment (anything that Date reads, or seconds since 1970) as "today" time or date and time. */
export function moment(value) {
  const date = new Date(typeof value === "number" ? value * 1000 : value);
  if (Number.isNaN(date.getTime())) return "";
  const today = date.toDateString() === new Date().toDateString();
  const day = today ? {} : { day: "numeric", month: "short" };
  return date.toLocaleString("en", { ...day, hour: "numeric", minute: "2-digit" });
}

/** A name that every file system takes. */
export function fileName(name, extension) {
  const stem = name.replace(/\.[^.]{1,5}$/, "").replace(/[\u0000-\u001f\u007f<>:"/\\|?*]+/g, "_").slice(0, 120);
  return `${stem || "recording"}.${extension}`;
}
