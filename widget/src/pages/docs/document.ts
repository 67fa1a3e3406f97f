/** The parts of an OpenAPI 3.1 document that the page reads; only those that this service's document uses. */

export interface Schema {
  $ref?: string;
  type?: string;
  title?: string;
  description?: string;
  format?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  required?: string[];
  examples?: unknown[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  maxItems?: number;
  pattern?: string;
}

export interface Parameter {
  name: string;
  in: string;
  required?: boolean;
  description?: string;
  schema: Schema;
  example?: unknown;
}

interface Content {
  schema: Schema;
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}

export interface Reply {
  description: string;
  headers?: Record<string, { $ref?: string }>;
  content?: Record<string, Content>;
}

export interface Operation {
  operationId: string;
  tags: string[];
  summary: string;
  parameters?: Parameter[];
  requestBody?: { description?: string; content: Record<string, Content> };
  responses: Record<string, Reply>;
  security?: Record<string, string[]>[];
}

export interface ApiDocument {
  info: { title: string; version: string; description: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> } & Record<string, Record<string, unknown>>;
}

let api: ApiDocument;

export async function load(): Promise<ApiDocument> {
  const response = await fetch('openapi.json');
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  api = await response.json();
  return api;
}

/** Resolves a reference. */
export function resolve<Part extends object>(part: Part): Part {
  const { $ref } = part as { $ref?: string };
  if (!$ref) return part;
  const [, , kind = '', name = ''] = $ref.split('/');
  return (api.components[kind]?.[name] ?? {}) as Part;
}

export const nameOf = ({ $ref = '' }: Schema): string => $ref.split('/').at(-1) ?? '';

/** The name of a schema that is only a `$ref`, possibly in a union. */
export const isNamed = (schema: Schema): boolean => !!schema.$ref;

export function example(content: Content): unknown {
  const [first] = Object.values(content.examples ?? {});
  return content.example ?? first?.value ?? resolve(content.schema).examples?.[0];
}

export const pretty = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value, null, 2));
