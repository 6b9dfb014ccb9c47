// A browser client of framewire-cluster, version 1 of the protocol (PROTOCOL.md). No dependencies.
//
//     const cluster = new Cluster("wss://example.com/?name=ann");
//     cluster.onstate = (state) => …;                            // "connecting", "linked", "unlinked" or "closed"
//     const room = cluster.subscribe("room/1", {
//         last: 50, join: true,
//         message: (data, { from, offset }) => …,
//         members: (list) => …,                                  // whenever somebody joins or leaves
//         gap: (gap) => …,                                       // messages are lost
//     });
//     await room.publish({ text: "hello" });                     // resolves when Redis has it
//
// It connects again by itself, resumes each topic after the last message that it has, and publishes again what was not
// answered: each message comes once and is stored once, or a gap is told.

const VERSION = "framewire-cluster.1";
const FIRST_PAUSE = 250;
const LONGEST_PAUSE = 10_000;
const PING_EVERY = 20_000;
const FATAL = new Set([1000, 1002, 1003, 1007, 1008, 1009]);

export class Cluster {
    #url;
    #socket = null;
    #pause = FIRST_PAUSE;
    #timer = 0;
    #pings = 0;
    #heard = true;
    /** The welcome has come. */
    #greeted = false;
    #subscriptions = new Map();
    /** What waits for an answer, by id: what was said, and the promise. */
    #asked = new Map();
    #next = 1;
    #state = "closed";

    constructor(url) {
        this.#url = url;
        this.onstate = () => {};
        /** A connection has ended, with this CloseEvent; unless it says that there is no use, the next one is tried. */
        this.onclose = () => {};
        this.ondirect = () => {};
        /** What the server says that it cannot do, where nothing waits for an answer. */
        this.onerror = () => {};
        /** What the server says of this connection: its id and the user. */
        this.welcome = null;
        this.#connect();
    }

    get state() {
        return this.#state;
    }

    /** Subscribes to a topic; it stays subscribed over reconnects. */
    subscribe(topic, options = {}) {
        if (this.#subscriptions.has(topic)) throw new Error(`already subscribed to ${topic}`);
        const subscription = new Subscription(this, topic, options);
        this.#subscriptions.set(topic, subscription);
        if (this.#isOpen()) this.#subscribe(subscription);
        return subscription;
    }

    /** Publishes to a topic. Resolves to `{ epoch, offset }` when Redis has it; rejects if the server refuses. */
    publish(topic, data) {
        return this.#ask({ publish: topic, data, key: uuid() });
    }

    /** Sends to `{ user: NAME }` or `{ connection: ID }`, where the server allows it; resolves to `{ sent: NODES }`. */
    send(to, data) {
        return this.#ask({ send: to, data });
    }

    /** Ends the connection for good. */
    close() {
        this.#end();
        this.#socket?.close(1000);
        this.#enter("closed");
    }

    unsubscribe(topic) {
        if (this.#subscriptions.delete(topic) && this.#isOpen()) this.#say({ unsubscribe: topic });
    }

    #connect() {
        this.#enter("connecting");
        const socket = (this.#socket = new WebSocket(this.#url, VERSION));
        socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
        socket.onclose = (event) => {
            if (this.#socket !== socket) return;
            this.onclose(event);
            this.#drop(event.code);
        };
    }

    #drop(code) {
        this.#socket = null;
        this.#greeted = false;
        clearInterval(this.#pings);
        for (const subscription of this.#subscriptions.values()) subscription.ready = false;
        if (FATAL.has(code)) {
            this.#end();
            this.#enter("closed");
            return;
        }
        this.#enter("connecting");
        this.#timer = setTimeout(() => this.#connect(), this.#pause * (0.5 + Math.random()));
        this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE);
    }

    #end() {
        clearTimeout(this.#timer);
        clearInterval(this.#pings);
        for (const { reject } of this.#asked.values()) reject(new Error("the connection has ended"));
        this.#asked.clear();
    }

    #isOpen() {
        return this.#greeted && this.#socket?.readyState === WebSocket.OPEN;
    }

    #say(what) {
        this.#socket.send(JSON.stringify(what));
    }

    #ask(what) {
        const id = this.#next++;
        return new Promise((resolve, reject) => {
            this.#asked.set(id, { what: { ...what, id }, resolve, reject });
            if (this.#isOpen()) this.#say({ ...what, id });
        });
    }

    #subscribe(subscription) {
        const { topic, options, position } = subscription;
        const from = position ?? { last: options.last };
        this.#say({ subscribe: topic, ...from, join: options.join, members: options.members !== undefined });
    }

    #enter(state) {
        if (state === this.#state) return;
        this.#state = state;
        this.onstate(state);
    }

    #hear(told) {
        this.#heard = true;
        if (told.welcome) return this.#open(told.welcome);
        if (told.linked !== undefined && !told.subscribed) return this.#enter(told.linked ? "linked" : "unlinked");
        if (told.direct) return this.ondirect(told.data, told.from);
        const asked = this.#asked.get(told.id);
        if (asked) return this.#answer(told, asked);
        if (told.error) return this.onerror(told.error);
        const topic = told.topic ?? told.subscribed ?? told.members ?? told.joined ?? told.left;
        this.#subscriptions.get(topic)?.hear(told);
    }

    #open(welcome) {
        this.welcome = welcome;
        this.#greeted = true;
        this.#pause = FIRST_PAUSE;
        this.#enter(welcome.linked ? "linked" : "unlinked");
        for (const subscription of this.#subscriptions.values()) this.#subscribe(subscription);
        for (const { what } of this.#asked.values()) this.#say(what);
        this.#heard = true;
        this.#pings = setInterval(() => {
            if (!this.#heard) {
                // The link is dead, whatever the browser believes; a new connection does not wait for its end.
                const socket = this.#socket;
                this.#drop(1006);
                socket.close();
                return;
            }
            this.#heard = false;
            this.#say({ ping: 0 });
        }, PING_EVERY);
    }

    #answer(told, { what, resolve, reject }) {
        if (told.error?.code === "full") {
            // Whoever publishes is faster than Redis: once more, later.
            setTimeout(() => this.#asked.has(told.id) && this.#isOpen() && this.#say(what), 500);
            return;
        }
        this.#asked.delete(told.id);
        if (told.error) reject(Object.assign(new Error(told.error.text), { code: told.error.code }));
        else resolve(told);
    }
}

class Subscription {
    #cluster;
    /** Who is present, by connection. */
    #members = new Map();

    constructor(cluster, topic, options) {
        this.#cluster = cluster;
        this.topic = topic;
        this.options = options;
        /** `{ epoch, offset }` of the last message, to resume after; `null` without one. */
        this.position = options.position ?? null;
        this.ready = false;
    }

    get members() {
        return [...this.#members.values()];
    }

    publish(data) {
        return this.#cluster.publish(this.topic, data);
    }

    unsubscribe() {
        this.#cluster.unsubscribe(this.topic);
    }

    hear(told) {
        if (told.topic && told.gap === undefined) {
            if (told.epoch !== undefined) this.position = { epoch: told.epoch, offset: told.offset };
            this.options.message?.(told.data, told);
        } else if (told.gap !== undefined && told.topic) {
            this.options.gap?.(told.gap);
        } else if (told.subscribed) {
            this.#begin(told);
        } else if (told.members) {
            this.#members = new Map(told.list.map((member) => [member.connection, member]));
            this.options.members?.(this.members);
        } else {
            if (told.joined) this.#members.set(told.member.connection, told.member);
            else this.#members.delete(told.member.connection);
            this.options.members?.(this.members);
        }
    }

    #begin(told) {
        this.ready = true;
        if (told.gap) this.options.gap?.(told.gap);
        if (told.epoch !== undefined) {
            // What is recovered comes next, and ends at this offset.
            const offset = told.offset - told.recovered;
            this.position = { epoch: told.epoch, offset };
        }
        this.options.subscribed?.(told);
    }
}

function uuid() {
    // `randomUUID` is there in secure contexts only.
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
