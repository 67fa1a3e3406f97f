import type { ChatWindow } from '../window/elements/chat-window.ts';

export interface Size {
  width: number;
  height: number;
}

/**
 * The window's free corner, by which a pointer makes it larger or smaller; for the keyboard there is a button. It is fetched
 * when a pointer comes near it first. Calls `draw` with each size, in CSS pixels; the last one is kept.
 */
export function addGrip(window: ChatWindow, isLeft: boolean, draw: (size: Size) => void): void {
  const grip = document.createElement('div');
  grip.className = 'grip';
  const [side, cursor] = isLeft ? ['right', 'nesw'] : ['left', 'nwse'];
  grip.style.cssText = `position:fixed;top:0;${side}:0;width:14px;height:14px;cursor:${cursor}-resize;touch-action:none`;
  grip.onmousedown = (event) => event.preventDefault(); // the field keeps the focus
  grip.onpointerdown = (down) => {
    if (down.button || window.hasAttribute('full')) return;
    const { innerWidth: before } = globalThis;
    let size: Size | undefined;
    grip.setPointerCapture(down.pointerId);
    grip.onpointermove = (move) => {
      // Counted from the frame's edges, of which all move along but the left one of a widget that stands there.
      const x = move.clientX - down.clientX;
      size = { width: isLeft ? before + x : innerWidth - x, height: innerHeight + down.clientY - move.clientY };
      draw(size);
    };
    grip.onlostpointercapture = () => {
      grip.onpointermove = null;
      if (size) window.memory.set(size);
    };
  };
  window.root.append(grip);
}
