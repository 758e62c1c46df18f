// Types that the JSDoc comments of the dashboard use. Those of the API come from the OpenAPI document
// (api-types.js), so a field that the API does not have is an error.

import type { components } from "./node_modules/.api/schemas";
import type { ApiError as Failure } from "../../static/api.js";
import type { ExactNumber as Exact } from "../../static/json.js";

type Schemas = components["schemas"];

/** One page of a list, or all of its pages. */
type Page = { cursor?: string; limit?: number };
type Lines = { level: string; limit: number; before?: string | number; after?: number };

declare global {
  // ---- the API -----------------------------------------------------------------------------

  type BatchCounts = Schemas["BatchCounts"];
  type ChannelHealth = Schemas["ChannelHealth"];
  type Connection = Schemas["ConnectionResponse"];
  type CreateJob = Schemas["CreateJob"];
  type Health = Schemas["Health"];
  type Job = Schemas["JobResponse"];
  type JobPause = Schemas["JobPause"];
  type JobStats = Schemas["JobStats"];
  type JobStatus = Schemas["JobStatus"];
  type LogLine = Schemas["LogResponse"];
  type LogList = Schemas["LogList"];
  type LoginAnswer = Schemas["LoginAnswerResponse"];
  type LoginAnswerRequest = Schemas["LoginAnswerRequest"];
  type Me = Schemas["MeResponse"];
  type NotificationResponse = Schemas["NotificationResponse"];
  type Permission = Schemas["Permission"];
  type Only = Schemas["Only"];
  type Pause = Schemas["PauseResponse"];
  type PluginResponse = Schemas["PluginResponse"];
  type PluginVersion = Schemas["PluginVersionResponse"];
  type Problem = Schemas["InvalidField"];
  type Progress = Schemas["Progress"];
  type Result = Schemas["ResultResponse"];
  type ResultList = Schemas["ResultList"];
  type RunningCommand = Schemas["RunningResponse"];
  type Role = Schemas["Role"];
  type Schedule = Schemas["ScheduleResponse"];
  type Session = Schemas["SessionResponse"];
  type StatusCounts = Schemas["StatusCounts"];
  type Token = Schemas["TokenResponse"];
  type User = Schemas["UserResponse"];
  type UserKind = Schemas["UserKind"];

  type ExactNumber = Exact;
  type Query = Record<string, string | number | null | undefined>;
  type RequestOptions = { signal?: AbortSignal };
  type ErrorKind = "problem" | "http" | "malformed" | "network" | "timeout" | "aborted" | "defect";

  type ApiError = Failure;

  /** The calls of `api.js`. */
  interface Api {
    health(options?: RequestOptions): Promise<Health>;

    me(): Promise<Me>;
    logIn(login: Schemas["LoginRequest"]): Promise<Me>;
    logOut(): Promise<unknown>;
    setUp(setup: Schemas["SetupRequest"]): Promise<Me>;
    changePassword(passwords: Schemas["PasswordRequest"]): Promise<unknown>;

    /** Without `user`, those of the caller. */
    listSessions(
      user: string | undefined,
      options: RequestOptions,
    ): Promise<Schemas["SessionList"]>;
    endSession(id: string, user?: string): Promise<unknown>;
    listTokens(user: string | undefined, options: RequestOptions): Promise<Schemas["TokenList"]>;
    createToken(token: Schemas["TokenRequest"]): Promise<Token>;
    revokeToken(id: string, user?: string): Promise<unknown>;

    listUsers(options: RequestOptions): Promise<Schemas["UserList"]>;
    user(name: string, options: RequestOptions): Promise<User>;
    createUser(user: Schemas["UserRequest"]): Promise<User>;
    replaceUser(name: string, user: Schemas["UserRequest"]): Promise<User>;
    deleteUser(name: string): Promise<unknown>;

    listJobs(
      filter: Page & { status?: string; plugin?: string; target?: string; parent?: string },
      options: RequestOptions,
    ): Promise<Schemas["JobList"]>;
    jobStats(options: RequestOptions): Promise<JobStats>;
    job(id: string, options: RequestOptions): Promise<Job>;
    jobResults(
      id: string,
      filter: { after?: string },
      options: RequestOptions,
    ): Promise<ResultList>;
    jobLogs(id: string, filter: Lines, options: RequestOptions): Promise<LogList>;
    followJob(id: string): EventSource;
    submitJob(job: CreateJob, idempotencyKey: string): Promise<Schemas["JobAccepted"]>;
    cancelJob(id: string): Promise<unknown>;
    rerunJob(id: string, only: Only): Promise<Schemas["JobAccepted"]>;
    deleteJob(id: string): Promise<unknown>;

    listSchedules(page: Page, options: RequestOptions): Promise<Schemas["ScheduleList"]>;
    enableSchedule(id: string): Promise<unknown>;
    disableSchedule(id: string): Promise<unknown>;
    triggerSchedule(id: string): Promise<unknown>;

    listPauses(options?: RequestOptions): Promise<Schemas["PauseList"]>;
    createPause(pause: Schemas["PauseRequest"]): Promise<unknown>;
    replacePause(id: string, pause: Schemas["PauseRequest"]): Promise<unknown>;
    endPause(id: string): Promise<unknown>;
    deletePause(id: string): Promise<unknown>;

    listNotifications(options: RequestOptions): Promise<Schemas["NotificationList"]>;
    testChannel(channel: string): Promise<Schemas["NotificationTest"]>;

    listPlugins(options?: RequestOptions): Promise<Schemas["PluginList"]>;
    plugin(name: string, options?: RequestOptions): Promise<PluginResponse>;
    pluginVersions(name: string, options?: RequestOptions): Promise<Schemas["PluginVersions"]>;
    listConnections(page: Page, options: RequestOptions): Promise<Schemas["ConnectionList"]>;
    allConnections(options: RequestOptions): Promise<Schemas["ConnectionList"]>;
    connection(id: string, options: RequestOptions): Promise<Connection>;
    hostKeys(id: string, options: RequestOptions): Promise<Schemas["HostKeyList"]>;
    trustHostKey(id: string, fingerprint: string): Promise<unknown>;
    replaceConnection(id: string, connection: Schemas["ConnectionRequest"]): Promise<unknown>;
  }

  // ---- the DOM -----------------------------------------------------------------------------

  /** Content of an element; null, undefined and false are omitted. */
  type Child = Node | string | number | ExactNumber | false | null | undefined | Child[];

  type ButtonClick = MouseEvent & { currentTarget: HTMLButtonElement };
  type OnClick = (event: ButtonClick) => unknown;

  interface Attributes {
    onClick?: OnClick;
    onKeydown?: (event: KeyboardEvent) => unknown;
    onSubmit?: (event: SubmitEvent) => unknown;
    onCancel?: (event: Event) => unknown;
    onChange?: (event: Event) => unknown;
    onClose?: (event: Event) => unknown;
    onInput?: (event: Event) => unknown;
    onScroll?: (event: Event) => unknown;
    [name: string]:
      string | number | ExactNumber | boolean | null | undefined | ((event: never) => unknown);
  }

  /** A form of a few fields, which have JSON pointers of the request as keys. */
  interface EntryForm<T> {
    action: string;
    note?: Child;
    fields: Record<string, Field>;
    /** Returns whether the form can be sent; otherwise shows why not. */
    check?(): boolean;
    send(): Promise<T>;
    onDone(answer: T): void;
    /** Closes the form without sending it. */
    cancel?(): void;
  }

  interface FormDialog<T> extends Omit<EntryForm<T>, "onDone" | "cancel"> {
    title: string;
    signal: AbortSignal;
  }

  interface CredentialsOptions {
    /** The user whose sessions and tokens are shown; if absent, the user of the dashboard. */
    user?: string;
    /** Whether they can be ended, created and revoked. */
    writable: boolean;
    /** The permissions to which a token can be limited. */
    permissions: Permission[];
    /** Whether the user logs in; a service account only has tokens. */
    logsIn: boolean;
    signal: AbortSignal;
  }

  interface Column<T> {
    label: string;
    render(item: T): Child;
    class?: string;
    /** Whether the column names the row. */
    header?: boolean;
  }

  interface TableOptions<T> {
    caption: string;
    columns: Column<T>[];
    keyOf(item: T): unknown;
  }

  interface Reconciled<T, E> {
    keyOf(item: T): unknown;
    create(item: T): E;
    update?(element: E, item: T): void;
  }

  interface RefresherOptions {
    /** Names the content in messages. */
    what: string;
    content: HTMLElement;
    /**
     * Fetches and renders into `content`. Returns a text that is announced to screen readers after a
     * refresh that the user requested.
     */
    load(signal: AbortSignal): Promise<string | void>;
    /** Returns the milliseconds until the next refresh, null for none. */
    pause?(): number | null;
    signal: AbortSignal;
    /** Returns what is shown instead of an error when the server responds with 404. */
    missing?(): Node;
  }

  /** A question before an action with consequences. */
  interface Question {
    title: string;
    /** Describes the consequences. */
    body: Child;
    /** The button that acts; without it, the dialog only shows its body. */
    confirm?: string;
    confirming?: string;
    /** The button that does nothing, and has the focus. */
    dismiss?: string;
    action?(): Promise<unknown>;
    signal: AbortSignal;
  }

  interface PausesOptions {
    /** Called when a pause was created or has ended. */
    changed(): unknown;
    signal: AbortSignal;
  }

  interface LogListOptions {
    jobId: string;
    /** Called when the reader selects other lines; makes the view call `load`. */
    changed(): unknown;
    signal: AbortSignal;
  }

  type FilterStatus = JobStatus | "";
  type Filters = { status: string; plugin: string; target: string; cursor: string };
  type ResultGroup = { target: string; results: Result[] };

  // ---- views -------------------------------------------------------------------------------

  interface ViewContext {
    /** Values of the `:name` parts of the path. */
    params: Record<string, string>;
    query: URLSearchParams;
    /** Aborted when the user leaves; cancels every request and timer of the view. */
    signal: AbortSignal;
    setTitle(title: string): void;
    /** Shows a message that outlives the view. */
    flash(message: string): void;
  }

  interface View {
    title: string;
    element: HTMLElement;
    /** Resolves when the first data is on the page: the scroll position can be restored. */
    ready?: Promise<unknown>;
    /** Called after a lost connection is restored. */
    refresh?(): unknown;
    /** Applies a new query in place; without it, the view is rebuilt. */
    update?(query: URLSearchParams): void;
  }

  interface ActionsOptions extends Pick<ViewContext, "signal" | "flash"> {
    id: string;
    /** Reloads the page's data. */
    refresh(): Promise<void>;
  }

  interface SubmitOptions extends Pick<ViewContext, "signal" | "flash"> {
    plugins: PluginResponse[];
    connections: Connection[];
    /** The job that the form is filled in from. */
    earlier: Job | null;
    /** The name of the plugin to select; may be empty or unknown. */
    wanted: string;
  }

  /** The fields of the submit form that are not generated from a schema. */
  interface SubmitFields {
    plugin: Field;
    targets: { field: Field; read(): string[] };
    description: Field;
  }

  type CreateView = (context: ViewContext) => View;

  interface Route {
    path: string;
    section: string | null;
    /** The permission that the page requires. */
    permission?: Permission;
    /** Whether the page is about users, of which there are none while authentication is off. */
    ofUsers?: boolean;
    view(): Promise<CreateView>;
  }

  interface Match {
    route: Route;
    path: string;
    params: Record<string, string>;
    query: URLSearchParams;
  }

  interface RouterOptions {
    routes: Route[];
    fallback: Route;
    show(match: Match, arrival: Arrival, scrollTo: number): unknown;
  }

  type Arrival = "load" | "push" | "back";

  // ---- forms -------------------------------------------------------------------------------

  /** The keywords that the form reads of a plugin's schema. */
  interface JsonSchema {
    $ref?: string;
    $defs?: Record<string, unknown>;
    definitions?: Record<string, unknown>;
    type?: string | string[];
    title?: string;
    description?: string;
    default?: unknown;
    const?: unknown;
    enum?: unknown[];
    oneOf?: JsonSchema[];
    items?: JsonSchema;
    properties?: Record<string, JsonSchema>;
    required?: string[];
    additionalProperties?: unknown;
    format?: string;
    pattern?: string;
    writeOnly?: boolean;
    minimum?: number;
    maximum?: number;
    minItems?: number;
  }

  type Params = Record<string, unknown>;

  /** A read control: without a value, the parameter is omitted. */
  type Reading = { value?: unknown; problem?: string };

  interface Input {
    control: HTMLElement;
    /** Whether the control contains several inputs. */
    group?: boolean;
    hint?: Child;
    read(): Reading;
    /** Describes the location of a deeper pointer inside the control. */
    place?(rest: string[]): string | null;
  }

  type BuildInput = (schema: JsonSchema, given: { required: boolean; value: unknown }) => Input;

  interface InputKind {
    accepts(schema: JsonSchema): boolean;
    build: BuildInput;
  }

  interface Field {
    element: HTMLElement;
    label: string;
    showProblems(messages: string[]): void;
    focus(): void;
  }

  interface FieldOptions {
    label: string;
    name?: string;
    hint?: Child;
    required?: boolean;
    /** The input; with `group`, an element with several inputs, and the label becomes a legend. */
    control: HTMLElement;
    group?: boolean;
  }

  interface ParamsForm {
    element: HTMLElement;
    /** Number of fields. */
    count: number;
    /** Returns the parameters, and problems as the server reports them. */
    read(): { value?: Params; problems: Problem[] };
    /** Shows each problem at its field. Returns these, and the problems without a field. */
    showProblems(problems: Problem[]): { atFields: FieldProblems[]; elsewhere: Problem[] };
  }

  type RowProblem = { field: string; message: string };
  type FieldProblems = { field: Field; messages: string[] };
}
