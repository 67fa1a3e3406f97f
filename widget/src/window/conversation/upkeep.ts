/** Occasional actions on conversations: list, delete and rate. */
import type { ChatController } from './chat-controller.ts';
import { type Chat, parseChats } from './chat-memory.ts';
import { ServiceError } from './chat-service.ts';
import type { Rating, Turn } from './turn.ts';

/** The visitor's conversations, newest first: the service's list for an identified visitor, otherwise this browser's. */
export async function chats({ service, memory }: ChatController): Promise<Chat[]> {
  if (!service.userToken) return memory.get().chats;
  return parseChats((await service.read('conversations'))?.conversations, 'updated_at');
}

/** Deletes a conversation here and from the service. Returns false if that failed, and then keeps it. */
export async function forget(chat: ChatController, id = chat.memory.get().conversationId): Promise<boolean> {
  const { service, memory } = chat;
  if (!id) return true;
  try {
    await service.request(`conversations/${encodeURIComponent(id)}`, { method: 'DELETE' });
  } catch (error) {
    if (!(error instanceof ServiceError && error.status === 404)) return false;
  }
  if (id === memory.get().conversationId) chat.newConversation();
  memory.drop(id);
  return true;
}

/** Returns false if the service did not accept it. */
export async function rate(
  { service, observer }: ChatController,
  turn: Turn,
  rating: Rating,
  comment: string,
): Promise<boolean> {
  const before = turn.rating;
  turn.rating = rating;
  try {
    await service.request(`messages/${encodeURIComponent(turn.id)}/feedback`, {
      method: 'POST',
      body: JSON.stringify({ rating, ...(comment && { comment }) }),
    });
  } catch {
    turn.rating = before;
    return false;
  }
  observer.onEvent('feedback', { id: turn.id, rating, ...(comment && { comment }) });
  return true;
}
