/** Two soft notes. Browsers allow sound only after the visitor has interacted with the page, and some never do. */
export function chime(): void {
  if (!window.AudioContext || !navigator.userActivation?.hasBeenActive) return;
  const audio = new AudioContext();
  const volume = audio.createGain();
  const tone = audio.createOscillator();
  const now = audio.currentTime;
  volume.gain.setValueAtTime(0.06, now);
  volume.gain.exponentialRampToValueAtTime(0.0001, now + 0.5);
  tone.frequency.setValueAtTime(659, now);
  tone.frequency.setValueAtTime(880, now + 0.12);
  tone.connect(volume).connect(audio.destination);
  tone.onended = () => void audio.close();
  tone.start();
  tone.stop(now + 0.5);
}
