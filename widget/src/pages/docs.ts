/** Starts Swagger UI; what it shows and what it loads comes from this service alone. */
declare const SwaggerUIBundle: (options: Record<string, unknown>) => unknown;

SwaggerUIBundle({
  dom_id: '#swagger-ui',
  url: 'openapi.json',
  deepLinking: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
