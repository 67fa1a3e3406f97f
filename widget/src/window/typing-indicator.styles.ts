import { css } from './chat-element.ts';

export const styles = css`
  :host { display: flex; gap: 5px; align-items: center; height: 24px; }
  i {
    width: 7px; height: 7px; border-radius: 50%; background: var(--_muted);
    animation: bounce 1.2s infinite ease-in-out;
  }
  i:nth-child(2) { animation-delay: .15s; }
  i:nth-child(3) { animation-delay: .3s; }
  @keyframes bounce { 0%, 60%, 100% { opacity: .35; transform: none; } 30% { opacity: 1; transform: translateY(-4px); } }
  @media (forced-colors: active) { i { background: CanvasText; } }
`;
