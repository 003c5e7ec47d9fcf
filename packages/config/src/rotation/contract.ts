/** What a rotation writes and its users read. */
export interface RotatingCredential {
  readonly username: string
  readonly password: string
}

export interface Cancellable {
  signal?: AbortSignal | undefined
}

/** The server whose two users take turns. Ours are `postgresUsers` and `rabbitmqUsers`. */
export interface CredentialTarget {
  readonly name: string
  readonly users: readonly [string, string]
  /** Creates the user if there is none, gives it this password, and everything it needs. Idempotent. */
  setPassword(credential: RotatingCredential, options: Cancellable): Promise<void>
  /** Rejects unless the server takes the credential for what it will be used for. */
  prove(credential: RotatingCredential, options: Cancellable): Promise<void>
  /**
   * Runs while no other rotation of these users does. Rejects with `ERR_CONFIG_ROTATION` when one does, and with anything else when it could
   * not find out.
   */
  exclusively<T>(run: () => Promise<T>): Promise<T>
}

/** Where the credential in use is kept. Ours are `credentialFile` and `vaultCredential`. */
export interface CredentialStore {
  readonly name: string
  read(options: Cancellable): Promise<{ username: string; writtenAt: number; revision: string } | undefined>
  /** Replaces what had that revision (`undefined`: nothing was there); rejects when it is another one by now. */
  write(credential: RotatingCredential, options: Cancellable & { expected: string | undefined }): Promise<void>
}
