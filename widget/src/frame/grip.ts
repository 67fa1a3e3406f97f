import type { ChatWindow } from '../window/elements/chat-window.ts';

export interface Size {
  width: number;
  height: number;
}

/**
 * The window's free corner, for resizing it with a pointer; for the keyboard there is a button. Loaded when a pointer first
 * comes near it. Calls `draw` with each size, in CSS pixels; the last one is stored.
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
      // Measured from the frame's edges, which all move except the left one of a widget at the left.
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
