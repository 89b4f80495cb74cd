from flask import Flask, session

app = Flask(__name__)
app.secret_key = 'super secret key'

@app.route('/set')
def set_session():
    session['key'] = 'value'
    return 'Session set'

@app.route('/get')
def get_session():
    return session.get('key', 'Not set')
