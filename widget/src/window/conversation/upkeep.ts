/** Occasional actions on conversations: list, delete and rate. */
import { record } from '../../protocol.ts';
import type { ChatController } from './chat-controller.ts';
import { parseJson } from './chat-events.ts';
import { type Chat, parseChats } from './chat-memory.ts';
import { type Rating, ServiceError } from './chat-service.ts';
import type { Turn } from './turn.ts';

/** The visitor's conversations, newest first: the service's list for an identified visitor, otherwise this browser's. */
export async function chats({ service, memory }: ChatController): Promise<Chat[]> {
  if (!service.userToken) return memory.get().chats;
  const response = await service.request('conversations', {});
  return parseChats(record(parseJson(await response.text()))?.conversations, 'updated_at');
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
