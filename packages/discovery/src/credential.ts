interface SecretLike {
  reveal(): string
}
/** A function is asked again for each request. */
export type Credential = string | SecretLike | (() => string | SecretLike | Promise<string | SecretLike>)

export async function revealCredential(credential: Credential): Promise<string> {
  const value = typeof credential === 'function' ? await credential() : credential
  return typeof value === 'string' ? value : value.reveal()
}
