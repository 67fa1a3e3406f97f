/** The labels of the closed widget. English is part of the first load; the other languages are in `locale.ts`. */
export interface BubbleLabels {
  open: string;
  /** English comes with the preview. */
  dismiss?: string;
}

export const ENGLISH: BubbleLabels = { open: 'Open chat' };
