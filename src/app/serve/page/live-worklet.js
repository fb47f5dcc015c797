// Runs on the audio thread: brings the microphone to the session's rate, as 16-bit little-endian PCM.

class Live extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate, chunk } }) {
    super();
    // Samples of the context for one of ours. Their mean is one sample, which also keeps most of what would alias out.
    this.step = sampleRate / rate;
    this.chunk = chunk;
    this.fill = 0;
    this.sum = 0;
    this.weight = 0;
    this.start();
  }

  start() {
    this.bytes = new DataView(new ArrayBuffer(this.chunk * 2));
    this.fill = 0;
  }

  process([[samples]]) {
    for (const sample of samples ?? []) {
      let left = 1;
      // A sample may reach into the next mean, or into several where the context is slower than the session.
      while (left > 1e-9) {
        const part = Math.min(left, this.step - this.weight);
        this.sum += sample * part;
        this.weight += part;
        left -= part;
        if (this.weight >= this.step - 1e-9) this.emit();
      }
    }
    return true;
  }

  emit() {
    const level = Math.max(-1, Math.min(1, this.sum / this.weight));
    this.bytes.setInt16(this.fill * 2, Math.round(level * 32767), true);
    this.sum = 0;
    this.weight = 0;
    this.fill += 1;
    if (this.fill < this.chunk) return;
    this.port.postMessage(this.bytes.buffer, [this.bytes.buffer]);
    this.start();
  }
}

registerProcessor("live", Live);
