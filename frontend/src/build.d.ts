/** The hash of the sources that this page was built from; see vite.config.ts. */
declare const __BUILD__: string;
